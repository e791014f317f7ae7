//! The gear table: one random-looking 64-bit number for each byte value.
//!
//! Any 256 numbers without pattern would cut equally well. Cuts, and with them the names of chunks, depend on exactly these, so they are
//! frozen: the reference's, which are the first outputs of Go's `math/rand` seeded with 0xCAFEBABE.

/// What each byte value adds to the hash.
#[rustfmt::skip]
pub(super) static GEAR: [u64; 256] = [
    0xc66a_b641_5c12_c5bc, 0xe57b_988a_f4f9_a8da, 0xb706_76b8_b062_9524, 0xf7f4_3c53_d359_414f,
    0x3e43_752b_7156_75f2, 0x200a_ae03_0a2a_2fa1, 0xef89_6ff5_ca98_f2e6, 0x6c84_1cda_fb2b_cc35,
    0x213d_8f49_f915_e8c2, 0x349b_0271_45a9_d836, 0xcf6d_89ba_aa13_2f81, 0xfa3f_8b68_c1a5_1128,
    0x33cf_4677_e54a_9ffc, 0xedd4_9bcd_473e_d566, 0x8123_d0a2_82d8_f934, 0xd4c3_e506_0092_60ef,
    0x7a26_dbce_c44d_7f3d, 0x2a1f_8397_15b5_241a, 0xf1b1_fe5a_c132_51bb, 0xeeb7_e046_fc83_d61d,
    0x458a_a96a_d934_5e84, 0x081b_c917_90f6_c53e, 0x12f6_5fcb_6fc3_4cc3, 0x23fe_ceec_9c28_c04b,
    0xf19b_1142_9d24_c59e, 0xc40e_ec2c_bbcd_c688, 0x07ff_cc15_068e_b2ae, 0x54ba_8340_a559_fccb,
    0x9b1c_4a4b_5f28_78f1, 0xc78a_c51c_aa9a_32fa, 0xbcb0_4b72_6a35_1e0e, 0xf896_a703_415b_a17a,
    0x4494_dcb9_115c_e250, 0xfae3_a557_04a9_a2fd, 0x6ca0_09fd_d1e8_c0c5, 0x930a_c4b4_1919_c7a9,
    0xc613_c3e2_e637_0dad, 0x1940_1f08_d86f_ad1d, 0xf8e7_f1e5_06c5_cee6, 0x2275_8585_7689_7fd0,
    0x0075_9eee_46d3_446c, 0xe748_e389_f4db_5974, 0x7388_bd6a_9655_3a02, 0xb2b3_63c9_b005_aaaa,
    0x8524_e542_71b5_5413, 0xd5bc_ab48_48c9_5a60, 0xd3e2_b5bb_9229_30f4, 0xccb6_a653_cdce_5fcc,
    0x5be3_0021_f6c5_e7ab, 0xe69d_34aa_23d5_098d, 0x2a90_941c_01cb_6ad2, 0xa5bc_fc9a_05ae_5b39,
    0xb4f4_1d3f_a0f3_c6d9, 0x9530_5acc_d899_39b3, 0xe96a_723d_d371_3a3e, 0x794f_1858_b7d5_4f8b,
    0xfa77_21a1_9263_8d14, 0x643d_32d9_4b71_9d53, 0x5b11_951a_25d9_2f86, 0x172a_1c47_036c_aed7,
    0x44f4_75e0_9865_44aa, 0x0583_d765_0acb_6a15, 0x5eaa_2538_0106_7d24, 0x31a2_517a_f6e0_79f3,
    0x18e4_9b8d_2839_d6e0, 0xc5bf_82f9_07e6_1fc6, 0x39e5_93f2_7dad_e635, 0xf360_8aff_dd8b_1fea,
    0x1f8a_1faf_14b2_26ec, 0x2b1e_1854_40cd_6546, 0x1122_0a88_cc9c_2b49, 0xbc2b_79ff_1411_9891,
    0x4271_8310_ddda_0295, 0xeb71_fe3c_4fc3_f5ac, 0x10b6_418b_93c6_da32, 0x8ad8_1d53_0adf_e8ee,
    0xb02c_7817_494e_26e2, 0xf3a6_582c_b843_0d70, 0x6902_bc3a_7879_4063, 0x8d01_bbf4_f8ce_f60b,
    0x8187_c9f5_d600_a1bb, 0xae3b_59ec_85bb_3449, 0x11b3_ae58_4249_989c, 0xd0a7_0e3b_94df_44c9,
    0x4d91_7e5d_46ee_a4d8, 0x5374_aec7_b884_7bac, 0xca3d_e8ae_18b6_908f, 0x8659_4874_2b96_a800,
    0xbb79_35ed_09a9_8e9d, 0xa6fc_6379_c01a_5d8d, 0xfa92_92f7_eacf_dff0, 0xb1d2_a0ba_f995_cd45,
    0x89c5_c78d_0c71_b741, 0x4f67_c9a6_5346_14eb, 0x226a_4b64_ce35_6fac, 0x8f2c_5b39_7bee_956b,
    0x695a_1207_288c_25fb, 0xa573_ba01_fbad_3535, 0xae5a_2a82_878e_f893, 0x059a_34fb_67f9_735c,
    0xd539_1dae_b9c5_a916, 0x4d33_ddff_2dea_84f1, 0x131f_0e6a_000f_d72f, 0x5013_7eb9_e130_3349,
    0x297d_8637_a91b_8d79, 0x92e0_c1d1_7232_03d7, 0x560b_861a_005d_a2f9, 0x9a3d_b590_203b_a214,
    0x2cea_28f3_82ec_9343, 0x952f_d1cd_ee88_53ce, 0x7af8_1857_281f_8cb1, 0x21f1_eda0_39f9_7105,
    0xbd41_9ae2_3a21_384a, 0x00b2_43cf_e0b4_1489, 0x944d_ff6d_a16b_8f2a, 0xad63_a2bf_4175_1b44,
    0xe286_7595_5c38_7088, 0x8a4a_5dda_1fdf_c8a7, 0x3156_4713_e87a_4355, 0x64f1_bead_f720_5927,
    0x9abd_8121_b5e0_6ecc, 0x0601_e7ae_5bb1_1e86, 0x21c8_dde6_764c_4663, 0x5f04_d547_e412_7d1b,
    0x3932_16cd_34bc_ef33, 0xd6aa_7897_4e92_6e69, 0x76e8_8ea0_128d_4565, 0x6285_d4ab_0b6d_e237,
    0x770e_3254_e948_a97b, 0xe724_b7eb_965a_c593, 0xec28_d97d_74d1_ffbf, 0x77a9_b251_a0ab_ebff,
    0x13fc_2f34_1432_bb77, 0xfa10_9774_47d9_a995, 0x0163_10e9_e534_3cc3, 0xd2eb_ac91_f0e4_0e85,
    0x3d4d_107e_ffa7_b2c3, 0x3b1b_69ff_6599_264c, 0x0db8_7e9a_4463_c3c4, 0x792d_f8a9_6e9a_ac24,
    0xbdda_bca8_913a_021f, 0x76d1_b473_56f7_0eec, 0x38de_c945_15e7_9fc7, 0x2aee_5e1f_f44e_2b08,
    0x2145_0b60_9a09_207f, 0xe9d8_92de_b1bd_a367, 0xb597_4a5f_6b47_7ed9, 0x46ad_b150_313a_b93e,
    0x07e1_4254_edfa_88f8, 0x4384_71e8_94ee_5dfd, 0x7bd1_fd1e_b5bd_1fd2, 0x4016_67dd_0788_a8f9,
    0x64d9_4388_2633_441a, 0x453a_3361_7306_2c1c, 0x9cfc_f8a8_5a2d_65a9, 0x29e1_8052_d4bf_f0ef,
    0xf1de_bfe7_c499_e87c, 0x8c21_c669_7c84_a074, 0x251a_6953_1dbe_5269, 0x7fae_6b75_c22c_78ec,
    0x8431_298c_ce35_4388, 0x6d3a_2089_17a1_132e, 0x18cb_3140_c5c9_d7a2, 0x9874_49ee_5847_3d65,
    0x3e76_c7e4_a659_9665, 0x8574_c433_e205_4434, 0x5987_6753_e3b1_cf75, 0xf24b_7a6a_a122_9ecb,
    0xef5e_aedb_dc74_358a, 0x6f14_d85a_dbda_31e3, 0x8634_f0ab_a4f3_2550, 0x9288_8763_a6db_30d0,
    0x1658_85e4_5a10_a8e6, 0x0c56_4dce_dfc2_0350, 0x7eff_3344_c5aa_3822, 0x674e_a3bb_d9fe_3ad0,
    0xdcdc_e4bb_3e0a_e263, 0x5f9a_a70f_7dc4_4421, 0xb4d8_7999_5b7a_5fdd, 0xd46f_1538_4dce_c190,
    0x8ef4_fc41_0310_1eee, 0xbe6b_2ab4_4355_df2b, 0xc4ac_6ebf_ad57_dbf0, 0x7559_1595_c88c_2990,
    0x902e_01bf_c1bf_9b99, 0x63d0_dae4_ded6_7ff1, 0xe99d_a002_65cd_e350, 0xc2d3_fda8_fd87_defb,
    0x41ca_51c7_a7e7_994c, 0x7627_5c2a_bf6a_376a, 0x2869_28db_80bb_7d41, 0xe957_4ee6_a296_aa15,
    0x0963_8015_92e2_dd3e, 0xf934_6008_aa01_d419, 0x75c5_54e1_e2d8_1e74, 0x3ced_6ffc_5bb7_3c8e,
    0xa69c_15ae_59c6_63c8, 0xe0a0_781f_e850_55e4, 0xfdf6_e51d_a624_7fa7, 0x26bc_caaf_a456_9cd7,
    0x6435_4b6e_de56_45c9, 0x76bb_615e_951f_f8a3, 0x5e20_9937_e6c4_3f6b, 0x2b3d_53de_b83b_7b4c,
    0x07cf_5cfe_23e6_1073, 0xd8f7_1ec9_ee08_cdbf, 0xc315_991b_b171_7202, 0x63f8_4369_ae3c_1761,
    0x15be_5403_926a_e111, 0x4142_e9f3_05f4_e31d, 0xcb10_d4ff_2c2f_0c4a, 0x8a1c_66bc_ac7c_45f2,
    0xce70_ec29_909d_1ef6, 0x764e_9a38_eb96_fdb9, 0x4150_fead_6cc6_3c1f, 0x734e_4708_355c_f2e4,
    0x70cc_a06f_643b_0e1b, 0x4962_e3fb_3016_a103, 0x0f4e_3c21_27a6_1635, 0x28f5_cdc5_5e8b_3f62,
    0xfe7b_f670_1f40_c8f4, 0x73c0_0c09_92ce_e0eb, 0xf057_246b_89f2_137e, 0x14cb_39b5_230c_6366,
    0x547c_958e_2340_bc6d, 0x4e58_3157_f346_1e28, 0xc69e_fb8f_b651_2fd1, 0x0e94_1a95_5c92_0a40,
    0x7e17_a8a9_3509_7034, 0x14ce_74fc_7923_b985, 0x502d_ce2f_bf59_6e6b, 0x48ed_fc1b_6180_64e6,
    0x8b8f_6f21_6797_936b, 0xd148_43b6_6d27_c135, 0x0194_8cd3_5ec4_df7c, 0xc1ab_bd5e_b6df_4552,
    0xcc89_dde4_2d62_047f, 0x79a3_9c60_6a43_2026, 0x9fb0_d2b9_4d35_7e73, 0x5c09_c9de_9ccc_c5ab,
    0x3696_b24d_570c_3d06, 0x10b8_397e_6c74_2652, 0x1847_68ff_55d9_a0a2, 0xee14_c307_b2b8_4d5c,
    0x066d_7368_9e4d_c0ff, 0x90ce_72b2_67f6_0ac3, 0x2958_46a7_7d8d_bc34, 0x2fb7_0abb_f4c5_4017,
    0x8a71_4cb0_c0d9_11b4, 0xe966_34a0_ba4f_68ab, 0xcffa_d219_bb88_f2b3, 0xb3a3_e03c_c0f9_155c,
    0x8def_9d44_f3d0_8e66, 0xd8b0_c92d_2650_dc94, 0x2731_ae60_e6dd_0064, 0x94ca_140c_b779_98e8,
];

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::GEAR;
    use crate::id::hex;

    #[test]
    fn the_table_is_the_frozen_one() {
        let bytes: Vec<u8> = GEAR.iter().flat_map(|number| number.to_be_bytes()).collect();
        let digest = "3e2bd60481ad21a96488ec1e84af65f5749321ecbe648a800f76842e77537e4b";
        assert_eq!(hex(&Sha256::digest(bytes)), digest);
    }
}
